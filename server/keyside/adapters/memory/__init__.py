"""The store and the hub in memory: for tests, and for a server that keeps nothing."""
