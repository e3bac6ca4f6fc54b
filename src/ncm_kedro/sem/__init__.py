"""SEM frames: reading, measuring, mosaics, crops and the audit."""
