"""The HTTP and socket interfaces. Each handler decodes a request, calls one service method, and encodes the answer."""
