"""What training steps need besides data and student: optimiser, schedule, queue, other processes."""
