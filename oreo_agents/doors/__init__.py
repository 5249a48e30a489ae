"""Our environments in other people's frameworks: one thin module for each, over the one :class:`Episode`."""
