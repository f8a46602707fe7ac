"""The methods by name; each has a file in this package and a line here."""

METHODS = {
    "joint": "trainables.methods.joint:Joint",
    "joint-uni": "trainables.methods.joint_uni:JointUni",
    "unimodal": "trainables.methods.joint:Joint",  # one trial of `joint` on each modality alone
    "moddrop": "trainables.methods.moddrop:ModDrop",
    "ogm": "trainables.methods.ogm:OGM",
    "ogm-ge": "trainables.methods.ogm_ge:OGMGE",
    "agm": "trainables.methods.agm:AGM",
    "mslr": "trainables.methods.mslr:MSLR",
    "mses": "trainables.methods.mses:MSES",
    "cggm": "trainables.methods.cggm:CGGM",
    "bogc": "trainables.methods.bogc:BOGC",
}
