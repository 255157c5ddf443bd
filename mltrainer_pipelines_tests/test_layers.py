from graphlib import TopologicalSorter

import grimp


def test_no_module_imports_itself_by_way_of_others():
    """Imports inside of functions count like the rest."""
    graph = grimp.build_graph("mltrainer_pipelines", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert sum(map(len, imports.values())) > 500
    TopologicalSorter(imports).prepare()  # raises CycleError with the modules of the first ring
