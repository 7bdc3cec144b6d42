"""The label store and its queue: who is asked what, and what they answered."""
