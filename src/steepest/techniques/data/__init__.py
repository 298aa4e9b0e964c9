"""How the training batches are made: f(batches, **settings) -> batches."""

NAMES: tuple[str, ...] = (
    "bulk_random",
    "curriculum",
    "data_selection",
    "label_noise",
    "normalise",
    "online_batch_selection",
    "packed_records",
    "preprocess_once",
)
