"""The gRPC layer: one row per RPC, the wrapper of every RPC, health, reflection and transport."""
