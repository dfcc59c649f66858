"""The types of everything that is sent or received: messages, events and errors; and the list of known providers."""
