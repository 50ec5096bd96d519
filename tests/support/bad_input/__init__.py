"""Bad inputs by subject: what is changed in a small valid sweep, and what the error must say."""
