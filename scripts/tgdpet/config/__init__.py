"""The configuration: sections, their limits, roles of studies, the table of studies. No torch in
here.
"""
