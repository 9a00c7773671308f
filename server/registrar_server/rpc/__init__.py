"""The gRPC face: servicers that unpack, call and pack, and what every RPC gets around them."""
