"""Configuration: YAML files to checked, frozen models.

What it is for
    ``load``    reads a YAML file into a model and names every problem at once, each as
                ``file:line: field: what is wrong; what would be right``
    ``rig``     the model of a rig: its screen, card, valve, spout and policies
    ``files``   where the shipped files stand, and which stages, rigs, image sets and curricula there are

Rules
    * Unknown fields are refused and the nearest known name is suggested; nothing is dropped in silence.
    * Units end the names. No YAML anchors: one complete, readable file per stage and per rig.
    * The models of a stage are those of ``stages.parameters``; this package only reads them.
    * A stage with pictures may be asked for with any image set, by its name with that set's letter.
"""
