"""Figures and pages: functions that return a Figure or HTML.

Numbers are computed in the domain; pages get them as reports and tables.
"""
