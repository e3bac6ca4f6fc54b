"""Charge and discharge of cells: reading cyclers' exports, capacities, retention."""
