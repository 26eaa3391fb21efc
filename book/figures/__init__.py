"""Figures that a reader moves: one script each, on JSXGraph, and the still pictures that they have drawn."""
