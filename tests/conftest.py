"""What every test shares."""

from __future__ import annotations

from hypothesis import settings

# The machine may be busy: a test's bound in time is pytest's, not one per example.
settings.register_profile("keyside", deadline=None, print_blob=True)
settings.load_profile("keyside")
