"""What runs the chapters and the measurements, and keeps their records."""
