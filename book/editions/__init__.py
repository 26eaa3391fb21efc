"""Other editions of the same chapters: notebooks for Colab, a PDF."""
