"""Decides, in plain Python: no SQL, no gRPC, no clock, no logging."""
