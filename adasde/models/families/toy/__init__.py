"""The bundled models of digits and letters: networks, data, training, weights."""
