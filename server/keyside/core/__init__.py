"""Pure thought: what a run may do, what its lines say, and who runs it. No I/O, no clock, no randomness."""
