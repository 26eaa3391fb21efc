"""The Sphinx directives and filters that make the pages."""
