"""HTTP and JSON: the methods of gRPC on the routes that their ``google.api.http`` options name."""
