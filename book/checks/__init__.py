"""What the checks look at the book with: outputs within tolerance, pages in a browser."""
