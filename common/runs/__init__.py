"""How a run is done: baseline, local stations, simulation, evaluation, experiment, its files."""
