"""The gRPC layer: servicers, the wrapper of every RPC, health, reflection and transport."""
