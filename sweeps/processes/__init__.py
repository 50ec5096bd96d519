"""How processes are started, and how they notice that their parent is gone."""
