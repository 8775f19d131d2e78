//! The socket and the gRPC services: thin.
