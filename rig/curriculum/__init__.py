"""Curricula as files: read, checked against their stages, imported, compared, drawn, told to an operator.

What it is for
    ``files``       a curriculum with the stages it names, which stand beside it or ship with the program
    ``regimen``     reading the laboratory's regimen files, anchors and all, with the line of everything
    ``translate``   a regimen's stage in our words: every key understood, remarked on, or named as not understood
    ``importing``   a regimen made into a folder with a curriculum and its stages
    ``diff``        what differs between two curricula, in what has an effect
    ``words``       a curriculum and a mouse's climb as an operator reads them
    ``diagram``     a curriculum as one picture
    ``release``     the published mice's transitions, sorted by a curriculum

Rules
    * What a curriculum means, and every decision by it, is in ``stages``; nothing here decides.
    * A curriculum in a folder with a folder ``stages`` takes its stages from there and from nowhere else.
    * Anchors and merge keys are read in regimens only.
"""
