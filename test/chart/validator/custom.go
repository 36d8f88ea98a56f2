package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// customKind is what a CustomResourceDefinition says of a version of its kind.
type customKind struct {
	structural *schema.Structural
	validator  validation.SchemaValidator
	rules      *cel.Validator
}

// customKinds are by apiVersion/kind.
type customKinds map[string]*customKind

func loadCustomKinds(folder string) (customKinds, error) {
	kinds := customKinds{}
	if folder == "" {
		return kinds, nil
	}
	err := filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(name) != ".yaml" {
			return err
		}
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		var failure error
		err = eachDocument(file, func(document []byte) {
			failure = errors.Join(failure, kinds.add(document))
		})
		return errors.Join(err, failure)
	})
	return kinds, err
}

func (kinds customKinds) add(document []byte) error {
	var head metav1.TypeMeta
	if err := yaml.Unmarshal(document, &head); err != nil || head.Kind != "CustomResourceDefinition" {
		return err
	}
	var definition apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(document, &definition); err != nil {
		return err
	}
	for _, version := range definition.Spec.Versions {
		if !version.Served || version.Schema == nil {
			continue
		}
		var internal apiextensions.JSONSchemaProps
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(version.Schema.OpenAPIV3Schema, &internal, nil); err != nil {
			return err
		}
		structural, err := schema.NewStructural(&internal)
		if err != nil {
			return err
		}
		validator, _, err := validation.NewSchemaValidator(&internal)
		if err != nil {
			return err
		}
		name := definition.Spec.Group + "/" + version.Name + "/" + definition.Spec.Names.Kind
		kinds[name] = &customKind{structural, validator, cel.NewValidator(structural, true, celconfig.PerCallLimit)}
	}
	return nil
}

// validate tells what the API server would refuse of an object of the kind.
func (kind *customKind) validate(json []byte) []string {
	var object map[string]any
	// Not what sigs.k8s.io/yaml has, which makes all numbers fractions.
	if err := utiljson.Unmarshal(json, &object); err != nil {
		return []string{err.Error()}
	}
	problems := []string{}
	unknown := pruning.PruneWithOptions(object, kind.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	for _, path := range unknown {
		problems = append(problems, fmt.Sprintf("unknown field %q", path))
	}
	// Nothing prunes metadata: the API server decodes it, as strictly.
	var head struct {
		metav1.ObjectMeta `json:"metadata"`
	}
	metadata, _ := yaml.Marshal(map[string]any{"metadata": object["metadata"]})
	if err := yaml.UnmarshalStrict(metadata, &head); err != nil {
		problems = append(problems, err.Error())
	}
	if head.Namespace == "" {
		head.Namespace = metav1.NamespaceDefault
	}
	path := field.NewPath("metadata")
	for _, problem := range apivalidation.ValidateObjectMeta(&head.ObjectMeta, true, apivalidation.NameIsDNSSubdomain, path) {
		problems = append(problems, problem.Error())
	}
	defaulting.Default(object, kind.structural)
	for _, problem := range validation.ValidateCustomResource(nil, object, kind.validator) {
		problems = append(problems, problem.Error())
	}
	if kind.rules != nil {
		failed, _ := kind.rules.Validate(context.Background(), nil, kind.structural, object, nil, celconfig.RuntimeCELCostBudget)
		for _, problem := range failed {
			problems = append(problems, problem.Error())
		}
	}
	for index, problem := range problems {
		problems[index] = strings.ReplaceAll(problem, "\n", " ")
	}
	return problems
}
