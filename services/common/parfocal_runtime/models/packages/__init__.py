"""Model packages of bioimage.io: read, checked, and folded into one graph that takes raw pixels."""
