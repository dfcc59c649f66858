"""The order of work: what happens when something arrives, and what is stored before what is said."""
