"""The hub and the calls over Socket.IO, and the server that they run on."""
