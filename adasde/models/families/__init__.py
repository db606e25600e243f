"""Model families, a folder each: the network, the converter of published files, the cards."""
