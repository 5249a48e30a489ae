from oreo_envs.alfworld.drop_in.command import main

main()
