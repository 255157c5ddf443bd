"""mlTrainer: a learning recommendation engine for US-equity momentum. It never places an order."""
