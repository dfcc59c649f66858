"""Attacks a real server through all its doors with seeded nonsense, and checks what must hold whatever is sent."""
