"""What every Parfocal service stands on: errors, servers, access, metrics, storage, models."""
