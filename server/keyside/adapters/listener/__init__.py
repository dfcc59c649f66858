"""The server's side of TCP connections: what uvicorn reads of them, within limits."""
