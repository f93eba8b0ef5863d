"""PETSIRD files (ETSI's list-mode format, https://petsird.etsinitiative.org) to study folders and
back.
"""
