"""The networks, what they see, and the pipeline of both stages that labels a CT. May import `volume` and `runtime`."""
