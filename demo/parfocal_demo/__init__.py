"""The demonstration: one active-learning campaign on EM images, measured against random."""
