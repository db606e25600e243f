"""DVC: its graph, one stage at a time, repair of its files, and its remote."""
