"""Media Transfer Protocol 1.1, responder side: containers, datasets, operations, objects, storages."""
