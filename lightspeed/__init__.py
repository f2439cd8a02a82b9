"""Lightspeed answers questions about a product from that product's documents."""

__version__ = "0.1.0"
