"""Trains base models and encoders, one run at a time, each in a process of its own.

Only the worker process imports torch; `servicer`, `runs`, `spec` and `config` do not, so that a
server that trains keeps serving.
"""
