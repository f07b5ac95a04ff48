"""Jobs: their description, their progress events and their execution. Independent of Slicer.

``request``, ``events`` and ``inspect`` need the standard library alone, so that a panel can
describe a job and follow it before anything else is installed.

    request         what is to be done, as plain data
    fields          fields of requests that describe themselves
    request_fields  the kinds of field that only requests have
    events          progress: a bar, JSON lines, or nothing
    inspect         what a model is, and which methods it serves
    run             one image
    cohort          many images
    cohort_images   the images that a cohort means
    cohort_adapt    whether it is adapted once or to each image, where the request leaves it open
    cohort_verdict  the verdict on all images of a cohort together
    cohort_choice   auto for a cohort: the method that serves all images best
    compare         several methods on one image
    auto            the best of several methods on one image
    tried           several methods on one image: what the two before share
    evaluate        results against a reference
    estimate        time and memory beforehand
    trial           seconds of the networks' work, by a trial of each
    train           training at the source site
    import_model    a bundle of a model from elsewhere
    cases           images with segmentations of a request
    labelled        the files of such images
    time_limit      of auto: what fits, and the end of what does not
    engine          the model and method that images share
    image_run       one method on one image
    stages          timed steps, repeated with less memory if it runs out
    failures        one image or method fails, the next continue
    memory_need     main memory by an image's header
    judgement       the judge's verdict, and what is delivered
    certainty       uncertainty of each structure, probabilities
    volumes         ml of each structure
    postprocessing  what post-processing changed, step by step
    write_result    the result folder
    report_parts    report.json: what was run, and what the method did
    adapted_bundle  adapted weights as a bundle
"""
