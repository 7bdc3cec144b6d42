"""The loop service: drives rounds and jobs until what is wanted exists."""
