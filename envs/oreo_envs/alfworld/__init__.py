"""ALFWorld on a native engine: games, their world, its sentences and Gymnasium environments.

    sources (find games) ──► game_file (parse a file) ──► world (rules and state) ──► env / vector (Gymnasium)
                                                                └── text (the sentences)

``places`` knows where data lie, ``install`` puts games there; ``generator`` makes new ones and ``experts`` solves any.
``textworld_backend`` plays the same games through TextWorld, the reference implementation.
"""
