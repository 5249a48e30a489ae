"""ALFWorld on a native engine: games, their world, its sentences and Gymnasium environments.

    data (find games) ──► game (parse a file) ──► world (rules and state) ──► env / vector (Gymnasium)
                                                     └── text (the sentences)

``textworld_backend`` plays the same games through TextWorld, the reference implementation.
"""
