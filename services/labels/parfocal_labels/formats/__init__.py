"""Formats of other programs; each module turns tables and arrays into what one of them reads."""
