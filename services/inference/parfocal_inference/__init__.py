"""Predicts on images by reference, proposes candidates, and speaks the Open Inference Protocol."""
