"""The outside world: the database, Socket.IO, the clock; and their in-memory likes."""
